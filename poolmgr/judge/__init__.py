"""Snapshot to Selection. Nothing here touches the world."""
