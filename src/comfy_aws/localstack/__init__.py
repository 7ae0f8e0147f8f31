"""The loopback cloud: one URL that speaks the AWS APIs this product uses.

`python -m comfy_aws.localstack --home DIR` runs it in the foreground; `comfy_aws.stack` starts,
finds and stops it. Nothing else imports this package.
"""
