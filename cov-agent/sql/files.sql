-- Executable lines, executed lines and percentage of each file and commit; 0 and 100 are exact, never rounded to.
-- Needs a table or view `coverage` with the rows of the shards.
WITH lines AS (
    SELECT commit, path, line, MAX(count) AS count FROM coverage GROUP BY commit, path, line
),
files AS (
    SELECT commit, path, COUNT(*) AS lines, COUNT(CASE WHEN count > 0 THEN 1 END) AS executed
    FROM lines
    GROUP BY commit, path
)
SELECT
    commit,
    path,
    lines,
    executed,
    CASE
        WHEN executed = 0 THEN 0.0
        WHEN executed = lines THEN 100.0
        ELSE LEAST(GREATEST(ROUND(CAST(executed AS DOUBLE) * 100 / lines, 2), 0.01), 99.99)
    END AS percent
FROM files
ORDER BY commit, path;
