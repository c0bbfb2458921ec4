#!/bin/sh
# Starts $CHROMIUM for Playwright. Each window of Chromium also loads two pages for the suggestions of its
# address bar, which take more time than the page that a test opens, and each page a process in reserve for
# the next one. So these features are disabled too. They are added to Playwright's list because only the last
# --disable-features counts.
for word; do
    shift
    case $word in
        --disable-features=*) word="$word,WebUIOmniboxPopup,WebUIOmniboxAimPopup,SpareRendererForSitePerProcess" ;;
    esac
    set -- "$@" "$word"
done
exec "$CHROMIUM" "$@"
