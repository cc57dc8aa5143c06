"""What a release requires, and which failures people have excused: `policy.yaml` and waiver files as frozen data.

`policy` says which failures block, what must have been run and how much may be missing; `waivers` excuses a FAIL that
somebody has written down and somebody else has approved. `harness.gate` applies both.
"""
