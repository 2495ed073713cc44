"""How the broker says who it is to managers, and for whom it asks.

    secrets, tls, signing    what is read of the environment and of files
    material                 all of it for one manager, read again where a file changed
    token_endpoint, tokens   OAuth 2.0 client credentials: one access token per manager, renewed before it expires

`adapters.manager_link` puts them together.
"""
