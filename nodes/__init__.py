"""The node classes that ComfyUI registers."""

from .remote import AwsRemoteOutput

NODE_CLASS_MAPPINGS = {"AwsRemoteOutput": AwsRemoteOutput}
NODE_DISPLAY_NAME_MAPPINGS = {"AwsRemoteOutput": "Output on AWS"}
