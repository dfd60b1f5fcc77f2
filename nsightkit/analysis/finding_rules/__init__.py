"""The rules behind the findings, one module each with ``find(inputs)``; `findings.RULES` lists them."""
