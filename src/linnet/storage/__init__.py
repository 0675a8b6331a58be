"""Bytes in S3: what arrives is whole or absent, and what went wrong is one sentence that says what to do.

Endpoint and credentials are boto3's own settings (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, profiles, pod identities).
boto3 is imported where it is used, so that work in local folders does without it.
"""

from linnet.storage.access import check_access
from linnet.storage.age import idle_seconds
from linnet.storage.connection import StorageError
from linnet.storage.folders import download_folder, is_complete, upload_folder
from linnet.storage.location import is_s3_url, join
from linnet.storage.objects import download_file, exists, remove, upload_file, version

__all__ = [
    "StorageError", "check_access", "download_file", "download_folder", "exists", "idle_seconds", "is_complete",
    "is_s3_url", "join", "remove", "upload_file", "upload_folder", "version",
]  # fmt: skip
