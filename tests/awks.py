"""routes.awk and what runs behind it, called as a host and the proxy's container do, with every awk that they may have."""

from pathlib import Path

from conftest import LOCALDEV, Run

AWKS = {
    "busybox": ("busybox", "awk"),
    "mawk": ("mawk",),
    "gawk": ("gawk",),
    "gawk --posix": ("gawk", "--posix"),
    "one-true-awk": ("original-awk",),
}
CONF = "label=a.b\nip=10.254.254.254\ndomain=shop.localhost\nweb_port=8080\nhttps_port=8443\n"
DATABASES = "redis=redis://:dev@127.0.0.1:${REDIS_PORT:-6379}/0 mongodb=mongodb://dev:dev@127.0.0.1:${MONGODB_PORT:-27017}/?a=1&b=2"


def configuration(
    run: Run,
    folder: Path,
    text: str,
    awk: tuple[str, ...] = ("mawk",),
    tls: str = "off",
    databases: str = DATABASES,
    **env: str,
) -> tuple[str, dict[str, str]]:
    """Return the proxy's configuration for routes `text`, and the pages by their names, as entrypoint.sh makes them."""
    (folder / "host-alias.conf").write_text(f"{CONF}databases={databases}\n")
    (folder / "routes").write_bytes(text.encode())
    into = folder / "pages made"
    (into / "up").mkdir(parents=True, exist_ok=True)
    variables = [
        f"-v{name}={value}"
        for name, value in (("want", "proxy"), ("into", into), ("tls", tls), ("resolver", "127.0.0.11"))
    ]
    programs = [
        word for name in ("routes", "proxy/nginx/nginx", "proxy/pages") for word in ("-f", LOCALDEV / f"{name}.awk")
    ]
    sources = sorted((LOCALDEV / "proxy/pages").iterdir())
    done = run(
        *awk, *variables, *programs, "host-alias.conf", "routes", *sources,
        cwd=folder, env={"LC_ALL": "C"} | env, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout, {
        str(path.relative_to(into)): path.read_text() for path in sorted(into.rglob("*")) if path.is_file()
    }
