"""Requests to servers that clients name: pictures are fetched by the edge, webhooks posted by the webhook service.

The modules, from the top: `guarded_client`; the guard against SSRF in `url_policy`, with names looked up by `resolver`
and pinned by `pinned_addresses`; the form of a URL in `address` and `host_form`. Nothing is imported here: the edge
imports the HTTP client late.
"""
