"""What client libraries that are built on HTTPX raise (Prefect's), for those who go on later."""

import httpx

HTTP_ERRORS = (httpx.HTTPError,)
