#include "storage-manager/drivers/file/layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace basalt::sm::file {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::string u1 = "11111111-1111-4111-8111-111111111111";
const std::string u2 = "22222222-2222-4222-8222-222222222222";
const std::string u3 = "33333333-3333-4333-8333-333333333333";

// Images are given as letters; ours are lower case.
View view_of(std::initializer_list<std::pair<const char*, const char*>> images,
             std::initializer_list<std::pair<std::string, const char*>> disks) {
    View view;
    for (const auto& [name, backing] : images) {
        ImageFile image;
        image.file = name;
        image.uuid = std::string("of ") + name;
        image.ours = *name >= 'a';
        image.usable = true;
        image.backing = backing;
        view.images[name] = image;
    }
    for (const auto& [uuid, image] : disks) {
        Disk disk;
        disk.uuid = uuid;
        disk.image = image;
        view.disks[uuid] = disk;
    }
    return view;
}

TEST(Layout, a_chain_leads_from_the_leaf_to_its_base) {
    const View view = view_of({{"c", "b"}, {"b", "a"}, {"a", ""}}, {});
    EXPECT_THAT(chain_of(view.images, "c"), ElementsAre("c", "b", "a"));
    EXPECT_THAT(chain_of(view.images, "a"), ElementsAre("a"));
}

TEST(Layout, a_chain_that_is_broken_circular_or_leaves_the_folder_is_none) {
    EXPECT_THAT(chain_of(view_of({{"b", "missing"}}, {}).images, "b"), IsEmpty());
    EXPECT_THAT(chain_of(view_of({{"b", "a"}, {"a", "b"}}, {}).images, "b"), IsEmpty());
    View outside = view_of({{"b", "a"}, {"a", ""}}, {});
    outside.images["a"].usable = false;
    EXPECT_THAT(chain_of(outside.images, "b"), IsEmpty());
}

TEST(Layout, garbage_is_what_nobody_needs_children_first) {
    const View view = view_of({{"d", "c"}, {"c", "a"}, {"b", "a"}, {"a", ""}}, {{u1, "b"}});
    EXPECT_THAT(garbage(view), ElementsAre("d", "c"));
}

TEST(Layout, nothing_is_garbage_while_something_cannot_be_read) {
    View view = view_of({{"a", ""}}, {});
    EXPECT_THAT(garbage(view), ElementsAre("a"));
    view.whole = false;
    EXPECT_THAT(garbage(view), IsEmpty());
    EXPECT_THAT(merges(view), IsEmpty());
}

TEST(Layout, a_strangers_image_is_never_garbage_but_may_become_a_disk) {
    const View view = view_of({{"B", "A"}, {"A", ""}}, {});
    EXPECT_THAT(garbage(view), IsEmpty());
    EXPECT_THAT(unclaimed(view), ElementsAre("B"));
    EXPECT_THAT(unclaimed(view_of({{"A", ""}}, {{u1, "A"}})), IsEmpty());
}

TEST(Layout, an_adoption_that_was_cut_short_is_done_again) {
    View view = view_of({{"A", ""}}, {{u1, "img-not-there"}});
    view.images["A"].uuid = u1;
    EXPECT_THAT(unclaimed(view), ElementsAre("A"));
}

TEST(Layout, an_inner_image_with_one_child_can_be_merged) {
    const View view =
        view_of({{"c", "b"}, {"b", "a"}, {"d", "a"}, {"a", ""}}, {{u1, "c"}, {u2, "d"}});
    const auto found = merges(view);
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].parent, "b");
    EXPECT_EQ(found[0].child, "c");
    // One that a disk of its own writes to cannot.
    EXPECT_THAT(merges(view_of({{"b", "a"}, {"a", ""}}, {{u1, "b"}, {u3, "a"}})), IsEmpty());
}

}  // namespace
}  // namespace basalt::sm::file
