# Records to JSON and back, and to the same JSON again.
import hashlib
import json
import sys

x = 1


def number():
    global x
    x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
    return x


records = [
    {
        "id": id,
        "name": f"record {number() % 1000}",
        "tags": [f"tag-{number() >> 24}" for _ in range(id % 5)],
        "size": number(),
        "nested": {
            "flag": id % 3 == 0,
            "nothing": None,
            "list": [id, id * 2, -id],
            "text": 'quoted "text" and \u00fcber',
        },
    }
    for id in range(int(sys.argv[1]))
]
text = json.dumps(records, separators=(",", ":"), ensure_ascii=False)
back = json.loads(text)
assert back == records
assert json.dumps(back, separators=(",", ":"), ensure_ascii=False) == text
print(hashlib.md5(text.encode()).hexdigest(), len(back))
