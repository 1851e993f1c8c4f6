"""What calls take and give, as documented in /openapi.json: one file for each noun.

`common` holds what several have. Bounds are those of the wire (`engine.schema.fields`); what an operator may set below them is
looked at by the routes and the hub. Bodies refuse fields that are unknown; answers may grow.
"""
