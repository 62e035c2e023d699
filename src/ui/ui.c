/* See ui.h. The pages themselves are the other files of this folder, embedded by tools/embed.py;
 * README.md says which is what. */
#include "ui/ui.h"

#include "platform/pages.h"
#include "platform/role.h"

extern const page ui_pages[];
extern const unsigned ui_pages_count;

int ui_keeper(int argc, char **argv)
{
    pages_set(ui_pages, ui_pages_count);
    return role_keeper(argc, argv);
}
