"""Content-Security-Policy and the other headers that every response carries.

Nothing is loaded from anywhere else, and no inline script or style runs. Some pages need a little more:

- PLOTS: Plotly appends one empty `<style>` and fills it by `insertRule`, which CSP does not govern. The hash is that of
  the empty string: an inline style that says anything is still refused. Plotly also draws text and images from blob and
  data addresses.
- EMBEDDED: other pages may show it in a frame.
"""

EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"


def _policy(style: str = "", img: str = "", ancestors: str = "'self'") -> str:
    parts = {
        "default-src": "'self'",
        "script-src": "'self'",
        "style-src": f"'self' {style}",
        "img-src": f"'self' {img}",
        "worker-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": ancestors,
    }
    return "; ".join(f"{name} {value.strip()}" for name, value in parts.items())


STRICT = _policy()
PLOTS = _policy(style=EMPTY_STYLE, img="data: blob:")
EMBEDDED = _policy(ancestors="*")
