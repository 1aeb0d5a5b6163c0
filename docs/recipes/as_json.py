"""Print all containers, and what is known of their images, as JSON."""

import json

from containerd_lite import Client, to_dict

with Client() as client:
    containers = [to_dict(each) for each in client.ps(all=True)]
    images = [to_dict(image.record) for image in client.list_images()]
    print(json.dumps({"containers": containers, "images": images}, indent=2))
