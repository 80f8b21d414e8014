# Regular expressions over lines of a made-up log: alternatives, a reference back, replacements, a split.
import hashlib
import re
import sys

x = 1


def number():
    global x
    x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
    return x >> 8


words = ["alpha", "beta", "gamma", "delta", "GET", "POST", "error", "warning"]
lines = []
for _ in range(int(sys.argv[1])):
    address = ".".join(str(number() % 300) for _ in range(4))
    lines.append(
        f"{address} {words[number() % 8]} /{words[number() % 8]}/{number() % 10000}"
        f"?q={words[number() % 8]} {number() % 600}\n"
    )
text = "".join(lines)
octet = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
addresses = len(re.findall(rf"\b(?:{octet}\.){{3}}{octet}\b", text))
queries = len(re.findall(r"(?:GET|POST) /(\w+)/(\d+)\?q=\1", text))
replaced = re.sub(r"(\w+)=(\w+)", r"\2:\1", text)
plain = sum(1 for word in re.split(r"[\s/?.=]+", text) if re.fullmatch(r"[a-z]+", word))
print(addresses, queries, hashlib.md5(replaced.encode()).hexdigest(), plain)
