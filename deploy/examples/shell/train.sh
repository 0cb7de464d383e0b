#!/bin/sh
# The nearest mean of one column, in awk: any program will do.
# usage: train.sh COLUMN
set -eu
column=$1
value() { sed -n "s/^ *\"$1\": \"\(.*\)\",*$/\1/p" "$SEEDSWEEP_TRIAL" | head -1; }
data=$(value data)
train=$(value train)
test=$(value test)

awk -F, -v column="$column" '
    FILENAME == ARGV[1] { train[$1] = 1; next }
    FILENAME == ARGV[2] { test[$1] = 1; next }
    FNR == 1 { next }
    { row = FNR - 2; label = $NF; x = $column }
    row in train { sum[label] += x; count[label] += 1 }
    row in test { value[row] = x; truth[row] = label }
    END {
        for (label in sum) mean[label] = sum[label] / count[label]
        for (row in value) {
            best = ""
            for (label in mean) {
                away = (value[row] - mean[label]) ^ 2
                if (best == "" || away < least) { best = label; least = away }
            }
            right += (best == truth[row]); rows += 1
        }
        printf "::metric step=1 accuracy=%.6f\n", right / rows
    }
' "$train" "$test" "$data"
