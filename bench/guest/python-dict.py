# A dict of strings to sums: random keys, about a fifth of them twice or more, then lookups in order.
import sys

count = int(sys.argv[1])
x = 1
sums = {}
for i in range(count):
    x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
    key = f"key-{x % (count * 2)}"
    sums[key] = sums.get(key, 0) + i
total = 0
for i in range(0, count * 2, 3):
    total += sums.get(f"key-{i}", 0)
largest = max(list(sums.values())[:1000])
print(len(sums), total, largest)
