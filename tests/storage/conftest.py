from tests.servers import azure_endpoint, s3_endpoint

__all__ = ["azure_endpoint", "s3_endpoint"]
