"""A store in an S3 bucket. Only this package knows S3. The agent uses :mod:`drbackup.stores.s3.signed` alone."""
