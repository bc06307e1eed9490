"""A tenant's life beyond its calls: suspended, resumed, deleted without a trace."""
