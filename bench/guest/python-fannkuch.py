# The permutations of 1 to n: how many times the first ones of each have to be turned over until 1 is the first.
import sys


def fannkuch(n):
    permutation = list(range(n))
    counts = [0] * n
    checksum = most = 0
    left = n
    sign = 1
    while True:
        while left != 1:
            counts[left - 1] = left
            left -= 1
        if permutation[0] != 0:
            work = permutation[:]
            flips = 0
            first = work[0]
            while first:
                work[:first + 1] = work[first::-1]
                flips += 1
                first = work[0]
            most = max(most, flips)
            checksum += sign * flips
        while True:
            if left == n:
                return checksum, most
            first = permutation[0]
            for i in range(left):
                permutation[i] = permutation[i + 1]
            permutation[left] = first
            counts[left] -= 1
            if counts[left] > 0:
                break
            left += 1
        sign = -sign


print(*fannkuch(int(sys.argv[1])))
