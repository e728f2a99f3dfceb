"""ferflow: facial-expression recognition as a reproducible factory."""
