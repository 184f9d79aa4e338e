from tests.servers import s3_endpoint

__all__ = ["s3_endpoint"]
