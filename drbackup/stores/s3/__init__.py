"""A store in an S3 bucket. The only room that knows S3; the agent uses :mod:`drbackup.stores.s3.signed` alone."""
