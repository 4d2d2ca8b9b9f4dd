"""The choice of a renderer, and that OpenGL and rays render the same world."""

from __future__ import annotations

import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from si_embodied.envs.mujoco import gl, selection
from si_embodied.envs.mujoco.camera import camera_intrinsics, camera_pose
from si_embodied.envs.mujoco.renderer import SceneRenderer, select_renderer
from si_embodied.errors import RendererError, UnknownNameError
from si_embodied.geometry import project

# A camera 3 m from a wall, level, and a ball whose nearest point is 1.5 m away on the optical axis.
SCENE = """<mujoco><worldbody><light pos="0 0 3"/>
<camera name="eye" pos="0 0 1" xyaxes="0 -1 0 0 0 1" fovy="60"/>
<geom name="wall" type="box" pos="3.5 0 1" size="0.5 4 4" rgba=".5 .5 .5 1"/>
<geom name="ball" type="sphere" pos="2 0 1" size="0.5" rgba="1 0 0 1"/>
<geom name="side" type="box" pos="2 1 1.4" size="0.1 0.1 0.1" rgba="0 0 1 1"/>
</worldbody></mujoco>"""


@pytest.fixture(scope="module")
def world() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.fixture(params=["best", "rays"])
def renderer(request: pytest.FixtureRequest, world):
    made = SceneRenderer(world[0], 65, 65, renderer=None if request.param == "best" else request.param)
    yield made
    made.close()


def test_depth_is_the_distance_along_the_optical_axis(renderer, world):
    depth = renderer.rgbd(world[1], "eye")[1]
    assert depth[32, 32] == pytest.approx(1.5, abs=2e-3)  # the ball, on the axis
    assert depth[2, 2] == pytest.approx(3.0, abs=2e-3)  # the wall, off the axis: the same depth everywhere
    assert depth.dtype == np.float32


def test_beyond_the_range_there_is_no_return(world):
    near_sighted = SceneRenderer(world[0], 33, 33, max_range_m=2.0)
    depth = near_sighted.rgbd(world[1], "eye")[1]
    near_sighted.close()
    assert depth[1, 1] == 0
    assert depth[16, 16] > 0


def test_the_ball_is_red_and_in_the_middle(renderer, world):
    red, green, blue = (int(c) for c in renderer.rgb(world[1], "eye")[32, 32])
    assert red > 60
    assert red > 3 * max(green, blue)


def test_segmentation_gives_geom_ids(renderer, world):
    model, data = world
    segments = renderer.segmentation(data, "eye")
    assert segments[32, 32] == model.geom("ball").id
    assert segments[1, 1] == model.geom("wall").id


def test_a_known_point_projects_into_its_own_segment(renderer, world):
    model, data = world
    point = camera_pose(model, data, "eye").inverse().apply(np.array([1.9, 1.0, 1.4]))
    u, v = project(camera_intrinsics(model, "eye", 65, 65), point)
    assert u < 32  # y is left in the map
    assert v < 32  # and it is above the camera
    assert renderer.segmentation(data, "eye")[round(v), round(u)] == model.geom("side").id


def test_rays_and_opengl_agree(world):
    if select_renderer().name == "rays":
        pytest.skip("no OpenGL on this machine")
    model, data = world
    drawn = []
    for name in (None, "rays"):
        made = SceneRenderer(model, 64, 64, renderer=name)
        drawn.append((made.rgbd(data, "eye")[1], made.segmentation(data, "eye")))
        made.close()
    same = drawn[0][1] == drawn[1][1]
    assert same.mean() > 0.97  # except at outlines
    assert np.percentile(np.abs(drawn[0][0] - drawn[1][0])[same], 95) < 0.01  # OpenGL renders a ball with facets


def test_rays_and_opengl_light_surfaces_alike():
    """A ball has normals in all directions; the lights are ambient, at the camera, and directional."""
    if select_renderer().name == "rays":
        pytest.skip("no OpenGL on this machine")
    model = mujoco.MjModel.from_xml_string("""<mujoco>
<visual><headlight ambient=".2 .2 .3" diffuse=".3 .2 .2" specular="0 0 0"/></visual><worldbody>
<light directional="true" dir="0.5 0.3 -0.8" diffuse=".3 .3 .2" specular="0 0 0" castshadow="false"/>
<light directional="true" dir="-0.2 0.6 0.5" diffuse=".2 .2 .3" specular="0 0 0" castshadow="false"/>
<camera name="eye" pos="0 0 1.5" xyaxes="0 -1 0 0.3 0 1" fovy="60"/>
<geom type="ellipsoid" pos="2 0 1" size="0.5 0.7 0.6" rgba=".9 .7 .5 1"/></worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    drawn = []
    for name in (None, "rays"):
        made = SceneRenderer(model, 64, 64, renderer=name)
        drawn.append((made.rgb(data, "eye").astype(int), made.segmentation(data, "eye") >= 0))
        made.close()
    both = drawn[0][1] & drawn[1][1]
    difference = np.abs(drawn[0][0] - drawn[1][0])[both]
    assert difference.mean() < 2
    assert np.percentile(difference, 95) < 6  # OpenGL renders it with facets


def test_a_closed_renderer_says_so(world):
    made = SceneRenderer(world[0], 16, 16)
    made.close()
    made.close()
    with pytest.raises(RendererError, match="closed"):
        made.rgb(world[1], "eye")


def test_a_context_that_rendered_another_world_renders_the_same_bits(world):
    def drawn(size):
        made = SceneRenderer(world[0], size, size)
        images = (*made.rgbd(world[1], "eye"), made.segmentation(world[1], "eye"))
        made.close()
        return images

    gl.free_idle()
    fresh = drawn(65)
    other = mujoco.MjModel.from_xml_string(SCENE.replace("60", "90").replace("1 0 0 1", "0 1 0 1"))
    SceneRenderer(other, 129, 33).close()
    made = SceneRenderer(other, 33, 129)  # open at the same time
    for image, expected in zip(drawn(65), fresh, strict=True):
        np.testing.assert_array_equal(image, expected)
    made.close()


@pytest.mark.skipif(select_renderer().name == "rays", reason="needs OpenGL")
def test_only_one_idle_context_is_kept_and_never_one_in_use(world):
    kind = select_renderer().name
    gl.free_idle()
    first, second = gl.take_context(kind, 8, 8), gl.take_context(kind, 8, 8)
    assert first is not second
    gl.put_back(first, kind)
    gl.put_back(second, kind)
    assert gl.take_context(kind, 8, 8) is first
    assert gl.take_context(kind, 8, 8) not in (first, second)
    first.free()


def test_an_unknown_camera_is_named(renderer, world):
    with pytest.raises(UnknownNameError, match="Did you mean 'eye'"):
        renderer.rgb(world[1], "eyes")


def test_an_unknown_renderer_is_named():
    with pytest.raises(UnknownNameError, match="wheel-osmesa"):
        select_renderer("vulkan")


def test_a_renderer_that_is_asked_for_and_absent_names_its_fix(monkeypatch):
    monkeypatch.setattr(selection, "_probe", lambda name: "libOSMesa.so: not found")
    selection._select.cache_clear()
    try:
        with pytest.raises(RendererError, match="libosmesa6"):
            select_renderer("osmesa")
    finally:
        selection._select.cache_clear()


def test_without_opengl_rays_are_chosen_and_the_reasons_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(selection.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(selection, "_probe", lambda name: f"{name} is not here")
    selection._select.cache_clear()
    try:
        choice = select_renderer()
        assert choice.name == "rays"
        assert "egl is not here" in choice.reason
        selection._select.cache_clear()
        monkeypatch.setattr(selection, "_probe", lambda name: pytest.fail("probed again in spite of the kept verdict"))
        assert select_renderer() == choice
    finally:
        selection._select.cache_clear()


def test_a_torn_cache_file_is_ignored(monkeypatch, tmp_path):
    (tmp_path / "si_embodied").mkdir()
    (tmp_path / "si_embodied" / "renderer.json").write_text('{"finger')
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(selection.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(selection, "_probe", lambda name: None)
    selection._select.cache_clear()
    try:
        assert select_renderer().name == "egl"
    finally:
        selection._select.cache_clear()


def test_rays_can_be_forced_from_the_environment_without_opengl():
    script = (
        "import gymnasium, si_embodied.envs\n"
        "env = gymnasium.make('si_embodied/Apartment-v0', image_size=32)\n"
        "observation, _ = env.reset(seed=0)\n"
        "assert env.unwrapped._view._renderer.choice.name == 'rays'\n"
        "assert observation['depth'].max() > 0.5\n"
        "env.close()\n"
    )
    environment = {**os.environ, "SI_EMBODIED_RENDERER": "rays", "MUJOCO_GL": "disable"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)
