"""The tenant matrix: three tenants, every door, everything behind a door, and what each answer may say to whom."""
