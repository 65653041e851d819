"""A bucket as a store in the inventory."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator

from drbackup.errors import say
from drbackup.model.quantities import Whole, YesNo
from drbackup.model.stores.base import StorePlace
from drbackup.model.words import Words


class S3Place(StorePlace):
    """A bucket of any S3-speaking store."""

    kind: ClassVar[str] = "s3"
    can_lock: ClassVar[bool] = True
    readers: ClassVar[int] = 8

    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = Field(
        description="The bucket's name."
    )
    endpoint: str = Field(default="", description="https://… ; empty: the region's own.")
    region: str = Field(default="us-east-1", description="Signed into every request.")
    credentials_file: str = Field(default="", description="An AWS-style credentials file; empty: the environment's.")
    collect_credentials_file: str = Field(
        default="", description="Likewise, of another key pair that may delete; empty: this store is not collected."
    )
    lock_days: Whole = Field(default=0, ge=0, le=36600, description="Object lock of every object; 0: no lock.")
    path_style: YesNo = Field(default=True, description="endpoint/bucket instead of bucket.endpoint.")
    ca_file: str = Field(default="", description="Certificates to trust for the endpoint.")

    @model_validator(mode="after")
    def _address(self) -> Self:
        if self.endpoint and not self.endpoint.startswith(("https://", "http://")):
            raise ValueError(
                say(
                    "endpoint {endpoint} must begin with https:// (or http:// inside one machine room)",
                    endpoint=repr(self.endpoint),
                )
            )
        return self

    @property
    def locked_days(self) -> int:
        return self.lock_days

    @property
    def trusted_ca(self) -> str:
        return self.ca_file

    def address(self, prefix: str) -> Words:
        at = f"s3://{self.bucket}/{prefix} @ {self.endpoint or self.region}"
        return Words(f"对象存储 {at}", f"bucket {at}")

    def fetch_line(self, prefix: str) -> str:
        where = f"--endpoint-url {self.endpoint}" if self.endpoint else f"--region {self.region}"
        return f"aws {where} s3 sync s3://{self.bucket}/{prefix} store"
