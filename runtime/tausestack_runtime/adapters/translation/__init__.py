"""Pure functions between the modern protocol and its earlier versions; nothing here waits or keeps anything."""
