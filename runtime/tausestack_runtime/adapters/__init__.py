"""A tenant's third-party servers: fetched into the store, run in a sandbox, translated to the modern protocol."""
