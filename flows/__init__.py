"""Orchestration: every stage as a Prefect flow. Order stands in dvc.yaml; there is no machine learning here."""
