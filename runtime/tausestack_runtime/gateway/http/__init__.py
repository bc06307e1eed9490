"""HTTP/1.1 as the gateway speaks it: requests in, replies out, and patience with nobody."""
