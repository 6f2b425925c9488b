"""Answers to the questions of copier.yml that are all accepted; those in the same place are, together."""

GOOD = {
    "project_slug": ["a", "my-app", "a1", "9lives", "a" * 40],
    "alias_ip": [
        *("10.254.254.254", "169.254.254.254", "10.0.0.1", "10.1.2.3", "192.0.2.2", "198.51.100.254", "203.0.113.113"),
        *("10.254.254.25", "169.254.1.3"),
    ],
    "alias_label": [
        *("local.host-alias.10.254.254.254", "co.cozy.add-lo0-alias-for-docker", "Com.Example.HostAlias", "a.b"),
        "x." + "y" * 98,
    ],
    "native_services": ["web:3000", "web:1 api:65535", "", "a-b:80  c1:443 ", "w" * 31 + ":1"],
    "web_domain": ["my-app.localhost", "shop.test", "a.b-c.example.com", "9.io", "x." + "y" * 63, "1.e5", "a.0xyz"],
    "web_port": ["1", "80", "8080", "65535"],
    "databases": ["[]", "[postgres]", "[postgres, mysql, redis, mongodb]"],
    "web_proxy": ["nginx", "none"],
}
