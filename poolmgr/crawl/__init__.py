"""The mesh to a Snapshot: resolve, probe, parse."""
