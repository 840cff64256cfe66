-- Which revision the schema is at, and the oldest code that it supports.
SELECT (SELECT version_num FROM alembic_version) AS revision, (SELECT oldest_code FROM schema_support) AS oldest_code
