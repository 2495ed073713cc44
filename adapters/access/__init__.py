"""The issuer of tokens, over HTTP; its signatures; and the files of access control."""
