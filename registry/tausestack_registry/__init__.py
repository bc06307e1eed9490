"""The registry: the catalogue, what each tenant has installed, approved definitions, the search over tools."""
