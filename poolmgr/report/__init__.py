"""Snapshot and verdicts to rows, JSON, CSV and text. Nothing here touches the world."""
