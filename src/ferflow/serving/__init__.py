"""The service: HTTP in, predictions out. The only importer of bentoml; it knows no training."""
