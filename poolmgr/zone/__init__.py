"""Selection and skeleton to Plan. Nothing here touches the world."""
