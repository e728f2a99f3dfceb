"""Orchestration: every stage as a Prefect flow. Order stands in dvc.yaml; there is no machine learning here."""

import ferflow  # noqa: F401  reads components.env, before anything asks where Prefect is
