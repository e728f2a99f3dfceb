"""A request that is refused: what the guard and what it asks raise. It knows no request."""


class RefusedError(Exception):
    """An answer with a 4xx or 503 status: ``message`` says what is wrong and what to do; ``headers`` go with it."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
