"""A node pack that another one imports from."""

GREY = 0.25
SHADE = "grey"


def grey_image(height, width):
    import torch

    return torch.full((1, height, width, 3), GREY)


NODE_CLASS_MAPPINGS = {}
