"""The snippets of docs/from-docker-py.md: what programs do with docker-py, done with this package.

Each function has the body of one section of the page.
"""

import io
import sys
import tarfile

from containerd_lite import Client, Container, TaskExit


def run_and_get_the_output(client: Client, image: str) -> None:
    done = client.run(image, ["echo", "hello"], check=True)
    print(done.stdout.decode())


def run_in_the_background(client: Client, image: str) -> Container:
    container = client.run(image, ["echo", "hello"], detach=True)
    print(container.id)
    return container


def wait_for_the_exit_code(container: Container) -> None:
    ended = container.wait(timeout=60)
    print(ended.exit_status)


def print_the_logs_of_one_container(client: Client, id: str) -> None:
    container = client.load_container(id)
    print(b"".join(container.logs(tail=10)).decode())


def follow_the_logs_of_one_container(container: Container) -> None:
    for line in container.logs(lines=True, follow=True):
        print(line.data.decode())


def read_the_settings_of_a_container(container: Container) -> None:
    print(container.info.image, container.labels)
    print(container.spec()["process"]["args"])


def list_running_containers(client: Client) -> None:
    for each in client.ps():
        print(each.id, each.image, each.status)


def run_a_command_in_a_container(container: Container) -> None:
    done = container.exec(["cat", "/proc/sys/kernel/ostype"])
    print(done.exit_code, done.stdout.decode())


def put_files_into_a_container(container: Container, archive: bytes) -> None:
    container.exec(["tar", "-x", "-C", "/tmp"], input=archive, check=True)


def get_files_from_a_container(container: Container) -> bytes:
    archive = container.exec(["tar", "-c", "-C", "/tmp", "note"], check=True).stdout
    return archive


def read_the_resource_usage(container: Container) -> None:
    stats = container.task().stats()
    print(stats.memory, stats.pids, stats.interfaces)


def save_a_container_as_an_image(client: Client, container: Container) -> None:
    container.checkpoint("docker.io/team/app:2", task=False)
    copy = client.restore("copy", "docker.io/team/app:2")
    print(copy.id)


def stop_all_running_containers(client: Client) -> None:
    for container in client.containers():
        container.stop(timeout=1)


def watch_events(client: Client, image: str) -> None:
    with client.subscribe(type=TaskExit, timeout=60) as events:
        client.run(image, ["true"])
        print(next(events).topic)


def remove_stopped_containers(client: Client) -> None:
    for each in client.ps(all=True):
        if each.status in ("created", "stopped"):
            client.load_container(each.id).delete()


def pull_an_image(client: Client, reference: str) -> None:
    image = client.pull(reference)
    print(image.name, image.target.digest)


def list_images(client: Client) -> None:
    for image in client.list_images():
        print(image.name)


def remove_an_image(client: Client, name: str) -> None:
    client.get_image(name).delete()


def main(image: str) -> None:
    """Run all snippets, in an order in which each finds what it needs."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("note"))
    with Client() as client:
        pull_an_image(client, image)
        list_images(client)
        run_and_get_the_output(client, image)
        ended = run_in_the_background(client, image)
        wait_for_the_exit_code(ended)
        print_the_logs_of_one_container(client, ended.id)
        follow_the_logs_of_one_container(ended)
        read_the_settings_of_a_container(ended)
        sleeping = client.run(image, ["sleep", "1000"], detach=True)
        list_running_containers(client)
        run_a_command_in_a_container(sleeping)
        put_files_into_a_container(sleeping, file.getvalue())
        fetched = io.BytesIO(get_files_from_a_container(sleeping))
        with tarfile.open(fileobj=fetched) as archive:
            print(archive.getnames())
        read_the_resource_usage(sleeping)
        save_a_container_as_an_image(client, sleeping)
        watch_events(client, image)
        stop_all_running_containers(client)
        remove_stopped_containers(client)
        remove_an_image(client, "docker.io/team/app:2")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest")
