# Of the set's train.tsv makes the list that the denoiser learns from: what is filled is mostly photographs and textures, but nine in
# ten of the set's pictures are things on plain grounds. So photographs come twice, textures five times, each time with another hole,
# which hangs on the place in the list, and some of the times without words: holes are mostly filled so, and what surrounds them shall
# decide then. Paths get `set`, the set's folder, before them.
BEGIN { FS = OFS = "\t" }
NR == 1 { print; next }
{
    $1 = set "/" $1
    print
}
$4 == "crop" {
    further[++crops] = $5 == "texture" ? 4 : 1
    row[crops] = $0
}
END {
    for (time = 0; time < 4; time++)
        for (i = 1; i <= crops; i++)
            if (time < further[i]) {
                $0 = row[i]
                if (time % 3 == 0)
                    $2 = ""
                print
            }
}
