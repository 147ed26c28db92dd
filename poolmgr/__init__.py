"""Keeps a round-robin DNS name pointing at the OpenPGP keyservers that really serve."""

__version__ = "0.1.0"
