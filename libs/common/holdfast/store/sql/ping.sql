-- Is the record there? Its clock, for `holdfast doctor`.
SELECT now() AS now
