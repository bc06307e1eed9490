"""What a tenant may use: set by its billing plan and for itself, counted here, refused beyond."""
