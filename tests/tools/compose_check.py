#!/usr/bin/python3
"""Reads docker-compose.yml as far as that goes without a Docker engine: it is YAML, and what its parts say of each other agrees."""

import os
import re
import sys
import tomllib

import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    compose = yaml.safe_load(file)
with open("Dockerfile", encoding="utf-8") as file:
    dockerfile = file.read()
faults = []
services = compose["services"]
known = {"image", "build", "restart", "init", "stop_grace_period", "read_only", "cap_drop", "security_opt", "environment", "ports", "volumes",
         "ulimits", "command", "secrets", "depends_on", "profiles", "healthcheck", "entrypoint", "tmpfs"}
for name, service in services.items():
    faults += [f"{name}: unknown key {key}" for key in service.keys() - known]
    faults += [f"{name} has no image" for _ in [0] if "image" not in service]
    depends = service.get("depends_on", [])
    faults += [f"{name} depends on {other}, which is none" for other in depends if other not in services]
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith(".") and not os.path.exists(source):
            faults.append(f"{name}: {source} is not there")
        if not source.startswith(".") and source not in compose["volumes"]:
            faults.append(f"{name}: volume {source} is not declared")
    faults += [f"{name}: secret {s} is not declared" for s in service.get("secrets", []) if s not in compose["secrets"]]
vedette = services["vedette"]
udp = vedette["environment"]["VEDETTE_RTSP__UDP_PORTS"]
if f"{udp}:{udp}/udp" not in vedette["ports"]:
    faults.append("the published UDP ports are not those Vedette sends from")
for port in vedette["ports"]:
    inside = port.split(":")[-1].removesuffix("/udp")
    if not re.search(rf"^EXPOSE.*\b{inside}\b", dockerfile, re.M):
        faults.append(f"the image does not EXPOSE {inside}")
with open("config/vedette.toml", "rb") as file:
    settings = tomllib.load(file)
# Docker gives a new volume the owner of the folder it covers, so the image must have made each of them for the user it runs as.
made = re.search(r"install -d -o vedette .*", dockerfile)
for volume in vedette["volumes"]:
    target = volume.split(":")[1]
    if not made or target not in made[0].split():
        faults.append(f"the image has no folder {target} that vedette may write")
for kept in (settings["volumes"][0]["path"], settings["database"]["path"].rpartition("/")[0]):
    if kept not in [volume.split(":")[1] for volume in vedette["volumes"]]:
        faults.append(f"{kept}, where the settings of the image write, is on no volume")
for copied in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.M):
    faults += [f"the image copies {path}, which is not there" for path in copied.split() if not os.path.exists(path)]
if "HEALTHCHECK" not in dockerfile and any("service_healthy" in str(s.get("depends_on")) for s in services.values()):
    faults.append("a service waits for health which nothing tells")
for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(bool(faults))
