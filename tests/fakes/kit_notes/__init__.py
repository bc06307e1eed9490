"""A small server written with the kit: notes of a tenant, and tools that wait, fail, report and die."""
